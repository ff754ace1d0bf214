"""Assessments: measures of a distilled set that train nothing on it. CLOM studies which of them predict the accuracy."""
