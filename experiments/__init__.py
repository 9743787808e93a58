"""Experiments on jaxroute: configs in, tables, figures and report.html out. Never imported by jaxroute."""
