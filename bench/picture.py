"""Draws what compare.py measured: CPU of each broker per unit, a group of bars for each scenario. usage: picture.py DATA.json OUT.svg"""
import json
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "odradek"
import matplotlib.pyplot as plt

COLORS = ["#1b7f5c", "#b0563a", "#d9a441"]

with open(sys.argv[1]) as file:
    bars = json.load(file)
names = list(dict.fromkeys(name for bar in bars for name in bar["values"]))
height = 0.8 / len(names)
figure, axes = plt.subplots(figsize=(11, 0.62 * len(bars) + 1.2))
for row, bar in enumerate(bars):
    greatest = max(bar["values"].values()) or 1
    for i, name in enumerate(names):
        if name not in bar["values"]:
            continue
        value = bar["values"][name]
        at = row + (i - (len(names) - 1) / 2) * height
        axes.barh(at, value / greatest, height, color=COLORS[i % len(COLORS)], label=name if row == 0 else None)
        axes.text(value / greatest + 0.01, at, f"{value:.3g} {bar['figure']}", va="center", fontsize=7)
axes.set_yticks(range(len(bars)), [f"{bar['scenario']}\n{bar['group']}" for bar in bars], fontsize=7)
axes.invert_yaxis()
axes.set_xlim(0, 1.25)
axes.set_xticks([])
axes.set_title("CPU of the broker, the dearest of each row as 1 (shorter is better)", fontsize=10)
axes.legend(loc="lower right", fontsize=8)
for side in ("top", "right", "bottom"):
    axes.spines[side].set_visible(False)
figure.tight_layout()
figure.savefig(sys.argv[2], metadata={"Date": None})
