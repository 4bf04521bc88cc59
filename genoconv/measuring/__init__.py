"""Measurements of whole models and whole runs, beside plain torch: what `genoconv bench embed` shows."""
