"""The closed loop over rounds: route, explore with exact propensities, learn, prove from the log.

bayes      the outcome model: Bayesian linear regressions that share what they can
rules      how each policy explores
rounds     one round of one seed, and the interval for the next router's gain
problem    a table as requests, the start log, and what may change
simulate   ten rounds of a policy, all seeds in one program
learned    rivals with networks of their own
report     tables, the verdict and the picture
recipe     the same with the recommended recipe as the router
month      what to expect after a day, a week and a month
"""
