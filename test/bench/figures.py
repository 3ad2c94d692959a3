"""Small statistics."""
import math
import statistics

# 97.5 % points of Student's t for 1 to 30 degrees of freedom; beyond that 1.96 is near enough.
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
         2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
         2.052, 2.048, 2.045, 2.042)


def median(values):
    return statistics.median(values)


def percentile(values, percent):
    """The least value that is not below `percent` of them."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]


def slope_interval(values):
    """Slope of at least three values at 0, 1, 2 and so on (least squares), and half of its 95 % interval."""
    count = len(values)
    slope, start = statistics.linear_regression(range(count), values)
    rest = sum((value - start - slope * at) ** 2 for at, value in enumerate(values))
    spread = count * (count ** 2 - 1) / 12
    return slope, _t(count - 2) * math.sqrt(rest / (count - 2) / spread)


def paired_ratios(values, base_values):
    """value / base of each round: what was measured seconds apart, so that a slow minute touches both."""
    return [value / base for value, base in zip(values, base_values, strict=True)]


def _t(degrees):
    return T_975[degrees - 1] if degrees <= len(T_975) else 1.96


def ratio_interval(ratios):
    """Geometric mean of at least two ratios and the ends of its 95 % interval."""
    logs = [math.log(ratio) for ratio in ratios]
    mean = statistics.fmean(logs)
    half = _t(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)
