"""The report: summaries of cycles, statistics, and what tables, figures and page are made of."""
