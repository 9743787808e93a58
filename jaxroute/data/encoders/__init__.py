"""Prompt texts -> features: ``encode(texts, encoder)``.

choosing   the names of encoders, and what each stands for
encoding   texts that are new, in batches; the others from the `cache`
hashed     word and character n-grams, `ngrams` the same in NumPy alone, `marks` lengths and signs
hub        models of the Hugging Face hub; `endpoint` those behind an API
joined     several encoders as one
"""

from jaxroute.data.encoders.choosing import ENCODERS as ENCODERS
from jaxroute.data.encoders.choosing import check as check
from jaxroute.data.encoders.choosing import parts as parts
from jaxroute.data.encoders.encoding import Encoded as Encoded
from jaxroute.data.encoders.encoding import encode as encode
from jaxroute.data.encoders.encoding import encode_counted as encode_counted
