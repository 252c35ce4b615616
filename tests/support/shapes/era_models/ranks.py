def rank_by_era(values, era):
    return values.groupby(era).rank(pct=True)
