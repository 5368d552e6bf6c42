# What evaluate jobs ask for, which grows with the candidates that they evaluate at once.
def judge_cores(wildcards):
    """Processors of a job: of its workers; with `auto` eight, or by --set-threads evaluate=N."""
    workers = EXECUTION["workers"]
    return 8 if workers == "auto" else workers * effective("evaluation", wildcards)["threads"]


def judge_memory_mb(wildcards, threads, attempt):
    """Memory of a job: that of all candidates evaluated at once, and what the judge itself uses."""
    settings, workers = effective("evaluation", wildcards), EXECUTION["workers"]
    if workers == "auto" and EXECUTION["gpus"] and EXECUTION["device"] != "cpu":
        workers = EXECUTION["gpus"]
    elif workers == "auto":
        workers = max(1, threads // settings["threads"])
    return (workers * settings["memory_mb"] + 8000) * attempt
