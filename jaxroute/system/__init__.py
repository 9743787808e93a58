"""What the package asks of the machine around it.

arenas    how many arenas glibc's allocator keeps
compiled  the folder of compiled programs; `maps` room in memory for them
parsing   the parser of modules that are run by themselves
printing  text for people and machines, with control characters escaped
stopping  Ctrl-C
threads   cores of this process, and threads of BLAS
wording   arguments in Python and options on the command line, as errors name them
"""
