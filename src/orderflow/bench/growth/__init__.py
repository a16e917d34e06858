"""`orderflow bench growth`: does it stay as fast when much lies in the tables, or in the topics?"""
