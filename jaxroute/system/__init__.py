"""What the package asks of the machine around it.

compiled  the folder of compiled programs
printing  text for people and machines, with control characters escaped
stopping  Ctrl-C
"""
