"""What the package asks of the machine around it.

printing  text for people and machines, with control characters escaped
stopping  Ctrl-C
"""
