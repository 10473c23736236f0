"""What the generator is compared by, besides its pixels: LPIPS, VGG19 and a frozen U-net."""
