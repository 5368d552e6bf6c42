"""The judge: static checks, training and scoring of candidates in processes of their own, known scores."""
