"""What several docks are made of: forms, messages, choosers, workers."""
