"""What priors of values on a grid share: a modality's network, with core's inputs and distributions around it."""
