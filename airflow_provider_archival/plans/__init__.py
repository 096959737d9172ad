"""What comes next, for each thing that is done: a typed state and an event in, a step out; nothing is sent."""
