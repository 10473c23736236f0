"""How good a segmentation is (Dice, AJI, PQ, counts), and a picture (PSNR, SSIM, colour)."""
