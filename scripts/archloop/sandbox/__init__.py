"""The sandbox of a candidate's process: namespaces, Landlock, system calls, memory of a GPU; and its supervisor."""
