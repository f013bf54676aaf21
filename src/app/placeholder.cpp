namespace mechsweep {}
