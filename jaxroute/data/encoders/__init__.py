"""Prompt texts -> features: ``encode(texts, encoder)``; ``encoding`` lists the encoders."""

from jaxroute.data.encoders.encoding import ENCODERS as ENCODERS
from jaxroute.data.encoders.encoding import Encoded as Encoded
from jaxroute.data.encoders.encoding import check as check
from jaxroute.data.encoders.encoding import encode as encode
from jaxroute.data.encoders.encoding import encode_counted as encode_counted
from jaxroute.data.encoders.encoding import parts as parts
