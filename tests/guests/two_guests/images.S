/* The guests as they lie in memory, made from guest_a.elf and guest_b.elf by build.sh. */
        .section .rodata
        .balign 16
        .global guest_a_image, guest_a_image_end, guest_b_image, guest_b_image_end
guest_a_image:
        .incbin "guest_a.bin"
guest_a_image_end:
        .balign 16
guest_b_image:
        .incbin "guest_b.bin"
guest_b_image_end:
