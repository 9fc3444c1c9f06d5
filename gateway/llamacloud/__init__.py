"""LlamaCloud's own interface: its official SDK works against Parsegate by changing its `base_url`.

Shapes, names and messages are those of the SDK `llama-cloud` 2.19.0 and of the provider's answers; behind them are the
same orders, budgets, pace and deduplication as behind ``/v1``.
"""
