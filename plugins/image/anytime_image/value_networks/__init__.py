"""Networks over the values of pictures, or of codes on a grid of rows and columns; `offers.py` lists them."""
