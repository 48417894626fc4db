"""The recurrent prior: gated recurrent units, with one softmax over codes or a dual one over their digits."""
