"""The walls around a candidate's process: namespaces, Landlock, system calls, memory of a GPU."""
