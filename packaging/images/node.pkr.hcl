# A Debian cloud image, tuned in a virtual machine of its own, so that `/` is the image:
#   packer init . && packer build .
# Beside this file: nettune (of the image's architecture) and node.toml, a profile.
# Packer 1.7 or newer. A CD is written for cloud-init, which takes xorriso, mkisofs or genisoimage.

packer {
  required_plugins {
    qemu = {
      version = ">= 1.1.0"
      source  = "github.com/hashicorp/qemu"
    }
  }
}

source "qemu" "node" {
  iso_url      = "https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-generic-amd64.qcow2"
  iso_checksum = "file:https://cloud.debian.org/images/cloud/bookworm/latest/SHA512SUMS"
  disk_image   = true
  headless     = true
  memory       = 1024

  # The image has no password: cloud-init reads one from this CD, for as long as it is built.
  cd_label = "cidata"
  cd_content = {
    "meta-data" = "instance-id: build\n"
    "user-data" = "#cloud-config\npassword: build\nchpasswd: {expire: false}\nssh_pwauth: true\n"
  }
  ssh_username     = "debian"
  ssh_password     = "build"
  shutdown_command = "sudo shutdown -P now"
}

build {
  sources = ["source.qemu.node"]

  provisioner "file" {
    sources     = ["nettune", "node.toml"]
    destination = "/tmp/"
  }

  provisioner "shell" {
    inline = [
      "set -e",
      "sudo install -m 755 /tmp/nettune /root/nettune",
      "sudo install -D -m 644 /tmp/node.toml /etc/nettune/profiles/node.toml",
      "sudo /root/nettune bake --root / --image-build -p node --strict",
      # GRUB's own configuration is generated; without preempt= in the profile nothing changes in it.
      "sudo update-grub",
      "sudo /root/nettune bake --root / --image-build --check",
      "sudo rm /root/nettune /tmp/nettune /tmp/node.toml",
      # The next boot is a node's first one, with no password of the build.
      "sudo passwd -l debian",
      "sudo rm -f /etc/ssh/sshd_config.d/50-cloud-init.conf",
      "sudo cloud-init clean --logs",
      "sudo truncate -s 0 /etc/machine-id",
    ]
  }
}
