"""What training costs in memory, time, launches and bytes: forecast on tensors without memory, and measured."""
