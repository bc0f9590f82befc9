"""Reading images and strokes, and making training data of them."""
