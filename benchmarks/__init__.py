"""What is recorded once and quoted by pages: races under ``races/`` and measurements under ``measurements/``.

One script each; ``make bench`` runs them and writes their records to ``results/``. The home page lists the races, the
status page the measurements. The tests hold every record against the script that made it, so a record that is out of
date fails. ``foreign/`` drives a library that lives in an environment of its own.
"""
