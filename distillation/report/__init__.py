"""The report: tables, figures and a page made from the outs of all other stages."""
