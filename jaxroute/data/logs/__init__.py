"""People's logs: one row a request, answered by one model.

loading    reading and checking: ``load``, which ends in `assembling` the table
table      the checked log; its folds, its splits; grouping: whether its groups are enough
problems   what is wrong with rows, and what is left out
formats    the kinds of logs, one line each
entries    what one record of a tool says; `usages`: its tokens
layouts    the layouts of OpenTelemetry's spans, and `spans` what they say; by whose names: opentelemetry,
           openinference, langfuse, mlflow, logfire, vercel, mastra, adk, haystack
bandits    Vowpal Wabbit and the Open Bandit Pipeline; comparisons: two answers and which is better
litellm    payloads, spend logs and spans of LiteLLM
gateway    the rows of our own gateway
opik       exported traces of Opik; weave: calls of Weave; langsmith: runs of LangSmith; llm: of that command
open_webui feedback and chats of Open WebUI; posthog: events of PostHog; datadog: spans of Datadog;
           tensorzero: tables of TensorZero; sentry: spans of Sentry; openrouter: its activity;
           braintrust: spans of Braintrust; lunary: runs of Lunary
cells      all tables of a log as `columns`; `fielding`: a table as fields, `convert`: cells as a column of one kind
joining    one request, one row: `nesting` of spans, `merging` of rows
naming     which model a row is of
costs      what an answer cost; rated_costs: whether rated ones cost as much
latency    how long the models take
qualities  which evaluation is the quality; feedback: qualities that came after the answers
"""

from jaxroute.data.logs.grouping import crowded as crowded
from jaxroute.data.logs.loading import load as load
from jaxroute.data.logs.problems import EXAMPLES as EXAMPLES
from jaxroute.data.logs.rated_costs import rated_costs as rated_costs
from jaxroute.data.logs.table import LogTable as LogTable
from jaxroute.data.logs.table import as_logs as as_logs
from jaxroute.data.logs.table import check_shadow as check_shadow
from jaxroute.data.logs.table import corrected as corrected
from jaxroute.data.logs.table import folding as folding
from jaxroute.data.logs.table import hold_out as hold_out
from jaxroute.data.logs.table import is_table as is_table
from jaxroute.data.logs.table import rating as rating
from jaxroute.data.logs.table import split as split
from jaxroute.data.logs.table import split_time as split_time
