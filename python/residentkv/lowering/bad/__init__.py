"""The bad-lowering suite: tempting mistakes, each with the label and the reason that the checker must give it.

Every case is a whole descriptor about `source/`, a small runtime that has everything except the contract. It is written
to a folder, read and checked like any other. Honest cases among them show that the suite can tell the difference.
"""
