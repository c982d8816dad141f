"""Keeping the desk well: a doctor that says what is wrong, backups that are proved, and the way back from one.

The rule: the doctor changes nothing, a backup never disturbs the engine, and a restored desk comes up halted.
"""
