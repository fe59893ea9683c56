"""Requests, the pool and the prefix index against a model, in random histories without claims."""

from tests.model.machine import RequestMachine

TestRequests = RequestMachine.TestCase
