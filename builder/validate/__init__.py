"""Run a pickle as the tournament does, and judge what came out."""
