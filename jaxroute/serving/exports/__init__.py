"""A router for other runtimes: a folder with the program, its description ``export.json`` and the test vectors.

program     the scores of every kind at one cost weight, written once for JAX and ONNX
hlo, onnx   StableHLO (portable, or in JAX's container) and ONNX
js          one ES module and a weights file; `page` one HTML file made of it
writing     the folder of an export
checking    what ``jaxroute verify`` runs: `runtimes` give answers, `comparing` says what differs
"""
