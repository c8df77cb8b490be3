"""Models as programs of random variables, and the interpreters that learn, code, sample and measure them."""
