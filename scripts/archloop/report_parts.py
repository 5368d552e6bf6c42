"""What the report consists of, for the rule that declares its files and the modules that make them."""

FIGURES = {
    "originality": "What the valid candidates are",
    "similarity": "How close to what was known",
    "distribution": "Accuracy of every cycle",
    "accuracy": "Mean, median and best accuracy",
    "funnel": "The funnel",
    "rates": "Rates",
    "diversity": "Diversity of the admitted",
    "corpus": "Growth of the corpus",
    "pareto": "Parameters against accuracy",
    "failures": "Where candidates fail",
    "side_by_side": "Four measures over the cycles",
    "cost": "Time",
}
TABLES = {
    "cycles": "Funnel, rates and accuracies of every cycle",
    "originality": "Copies and new designs of every cycle",
    "similarity": "Similarity to the nearest neighbour of every cycle",
    "shift": "First cycle against last, with tests and effect sizes",
    "diversity": "Diversity of the admitted designs of every cycle",
    "corpus": "Growth of the corpus",
    "architectures": "The admitted designs, best first",
    "failures": "Reasons of failures",
    "chains": "Chains side by side",
    "comparison": "Baselines and ablations",
    "results": "Means over seeds, with what they took",
    "paper": "The paper's figures beside this run's",
    "protocol": "The paper's protocol beside this run's",
    "cost": "Seconds, tokens and evaluations by stage",
}
# What the page is made of beside the results, in the folder report/.
PAGE_PARTS = ("page.html.j2", "page.css", "page.js", "gallery.html.j2", "gallery.css", "gallery.js")
PAGE_PARTS += ("paper.csv", "protocol.csv")
PAGE_PARTS += tuple(f"captions/{name}.rst" for name in FIGURES)
