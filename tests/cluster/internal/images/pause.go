package images

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// The program of a pod's sandbox: it ignores the end of children, so that the
// kernel reaps them, ends on SIGTERM, and waits. It is written as machine code
// because this module's own binary would start in every pod with all of
// Kubernetes to initialise (a tenth of a second, 60 MB), and there is no
// compiler for another one where only this binary is.
const (
	pauseBase    = 0x400000
	elfHeaders   = 64 + 56 // one file header, one program header
	sigCHLD      = 17
	sigTERM      = 15
	sigIgnore    = 1
	saRestorer   = 0x04000000
	sigSetSize   = 8
	sigActionLen = 32
)

// pauseProgram gives the ELF file for an architecture as Go names it.
func pauseProgram(arch string) ([]byte, error) {
	var machine elf.Machine
	var code func(ignore, terminate uint32) (text []byte, handler int)
	switch arch {
	case "amd64":
		machine, code = elf.EM_X86_64, pauseAMD64
	case "arm64":
		machine, code = elf.EM_AARCH64, pauseARM64
	default:
		return nil, fmt.Errorf("no pause program for the architecture %s", arch)
	}
	// The code's length does not depend on the addresses in it.
	text, exit := code(0, 0)
	length := (len(text) + 7) / 8 * 8
	actions := uint32(pauseBase + elfHeaders + length)
	text, _ = code(actions, actions+sigActionLen)
	text = append(text, make([]byte, length-len(text))...)
	handler := uint64(pauseBase + elfHeaders + exit)

	var file bytes.Buffer
	size := uint64(elfHeaders + length + 2*sigActionLen)
	write := func(data any) { _ = binary.Write(&file, binary.LittleEndian, data) } // a Buffer takes everything
	write(elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Entry: pauseBase + elfHeaders, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	})
	write(elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X),
		Vaddr: pauseBase, Paddr: pauseBase, Filesz: size, Memsz: size, Align: 0x1000,
	})
	write(text)
	// Twice the kernel's struct sigaction: handler, flags, restorer, mask.
	write([]uint64{sigIgnore, 0, 0, 0})
	write([]uint64{handler, saRestorer, handler, 0})
	return file.Bytes(), nil
}

func pauseAMD64(ignore, terminate uint32) (text []byte, handler int) {
	sigaction := func(signal byte, action uint32) []byte {
		code := []byte{
			0xb8, 13, 0, 0, 0, // mov eax, rt_sigaction
			0xbf, signal, 0, 0, 0, // mov edi, signal
			0xbe, // mov esi, action
		}
		code = binary.LittleEndian.AppendUint32(code, action)
		return append(code,
			0x31, 0xd2, // xor edx, edx
			0x41, 0xba, sigSetSize, 0, 0, 0, // mov r10d, 8
			0x0f, 0x05, // syscall
		)
	}
	text = append(sigaction(sigCHLD, ignore), sigaction(sigTERM, terminate)...)
	text = append(text,
		0xb8, 34, 0, 0, 0, // wait: mov eax, pause
		0x0f, 0x05, // syscall
		0xeb, 0xf7, // jmp wait
	)
	exit := []byte{
		0x31, 0xff, // xor edi, edi
		0xb8, 231, 0, 0, 0, // mov eax, exit_group
		0x0f, 0x05, // syscall
	}
	return append(text, exit...), len(text)
}

func pauseARM64(ignore, terminate uint32) (text []byte, handler int) {
	const call = 0xd4000001 // svc #0
	move := func(register, value uint32) uint32 { return 0xd2800000 | value<<5 | register }
	moveHigh := func(register, value uint32) uint32 { return 0xf2a00000 | value<<5 | register } // keeps the low half
	sigaction := func(signal, action uint32) []uint32 {
		return []uint32{
			move(8, 134), // rt_sigaction
			move(0, signal),
			move(1, action&0xffff), moveHigh(1, action>>16),
			move(2, 0),
			move(3, sigSetSize),
			call,
		}
	}
	words := append(sigaction(sigCHLD, ignore), sigaction(sigTERM, terminate)...)
	words = append(words,
		move(8, 73), // wait: ppoll(nothing)
		move(0, 0), move(1, 0), move(2, 0), move(3, 0),
		call,
		0x14000000|(-6&0x3ffffff), // b wait
	)
	handler = 4 * len(words)
	words = append(words,
		move(0, 0),
		move(8, 94), // exit_group
		call,
	)
	for _, word := range words {
		text = binary.LittleEndian.AppendUint32(text, word)
	}
	return text, handler
}
