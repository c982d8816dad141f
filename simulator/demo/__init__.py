"""A scripted market day on a fast clock, with the real engine, order desk and paper broker at work in it.

The rule: it lives in a folder of its own and leaves nothing running. `python -m simulator.demo`, or `make demo`.
"""
