"""Examples of what a person does: strokes on one image, and another image of the same kind that shall be segmented.

`group` holds images of one kind with their truth, synthetic or real; `view` cuts pieces out of them; `task` and
`filtered` draw what shall be told apart; `episode` puts them together. `stream` numbers the episodes, and `workers`
draws them in processes beside the training.
"""
