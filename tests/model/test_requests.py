"""Requests, the pool and the prefix index against a model, in random histories without claims."""

from hypothesis import settings

from tests.model.machine import RequestMachine

TestRequests = RequestMachine.TestCase
TestRequests.settings = settings(settings.default, max_examples=150, stateful_step_count=40)
