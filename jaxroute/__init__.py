"""jaxroute: learn which language model should answer which prompt, from logs of one answer each.

Modules, in the order in which data flow: `types`, `data`, `nuisance`, `counterfactual`, `pessimism`, `losses`,
`networks`, `training`, `sweep`, `population`, `policies`, `estimators`, `metrics`, `report`. Nothing happens at import.
"""

__version__ = "0.1.0"
