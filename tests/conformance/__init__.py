"""The standard as tests: each requirement and each case has its number in the id of a test (R103-F48-…).

R: what PS3.4, PS3.5, PS3.7, PS3.8 and PS3.10 ask of us, in the order of the services. E, A, S, F, M, G, C, W: the cases
of verification, association, storage, query, move, get, commitment and worklist that try it on the wire. What is not
tried is in the README's section "Conformance" with its reason; test_statement.py holds the two together.
"""
