"""Bluetooth Low Energy devices → Samples; nothing here is imported unless a configuration names a device."""
