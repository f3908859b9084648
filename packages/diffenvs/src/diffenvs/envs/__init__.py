"""Environments: a task, a simulator and the bookkeeping of episodes behind Gymnasium's interfaces."""
