"""Assessments: measures of a distilled set that train nothing on it. CLOM studies which predict the accuracy."""
