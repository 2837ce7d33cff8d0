"""What published guidelines say of the measurements: Lung-RADS v2022, Fleischner 2017, Brock. Rules, not advice."""
