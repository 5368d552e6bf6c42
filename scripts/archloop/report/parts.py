"""What the report consists of, for the rule that declares its files and for what makes them."""

FIGURES = {
    "fates": "What becomes of 100 programs",
    "contrasts": "The loop minus its controls",
    "newer": "Newer and better?",
    "effort": "Best found against effort",
    "sizes": "Size against accuracy",
}
TABLES = {
    "cycles": "Funnel, rates and accuracies of every cycle",
    "fates": "What became of the candidates of every cycle",
    "contrasts": "The loop minus every other chain, over runs",
    "results": "Means over runs, with cost",
    "chains": "Every chain",
    "similarity": "Similarity to the nearest neighbour of every cycle",
    "diversity": "Diversity of the admitted designs of every cycle",
    "architectures": "The admitted designs, best first",
    "failures": "Reasons of failures",
    "paper": "The paper's figures beside this run's",
    "protocol": "The paper's protocol beside this run's",
    "cost": "Seconds, tokens and evaluations by stage",
}
# What `verify.py --note` leaves in the folder of the results, for the next report.
VERIFIED = "verified.json"
# What the page is made of beside the results, in the folder report/.
PAGE_PARTS = (
    "page.html.j2",
    "page.css",
    "page.js",
    "gallery.html.j2",
    "gallery.css",
    "gallery.js",
    "design.js",
    "paper.csv",
    "protocol.csv",
    *(f"captions/{name}.rst" for name in FIGURES),
)
