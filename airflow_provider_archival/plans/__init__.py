"""What comes next, for each thing that is done: typed state and event in, a step out; nothing is sent."""
