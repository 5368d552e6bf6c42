"""The report: summaries of cycles, statistics, and what its tables, figures and page are made of."""
